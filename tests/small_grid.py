"""A grid of a few digits, which tests run for real in seconds."""

SMALL_GRID = """
schema = 1
title = "A few digits"
seeds = [0]
dataset = "digits"
backbone = "efficientnet_lite0"
noise = ["symmetric-0.4"]
[[rows]]
tuning = "lp"
method = ["ce", "gce"]
[dataset_options]
train_per_class = 8
test_per_class = 4
[backbone_options]
image_size = 32
[lp]
epochs = 2
[fft]
epochs = 1
"""
