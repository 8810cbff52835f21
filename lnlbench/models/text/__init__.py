"""The text side of models of images and texts: tokens, embeddings of texts, and images compared with them."""
