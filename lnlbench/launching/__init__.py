"""The other processes of a trial: how many there are, where they meet, who starts, watches and ends them."""
