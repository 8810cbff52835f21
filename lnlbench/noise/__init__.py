"""Label noise: generators, their settings, their reports, and noise files (protocol, section 4)."""

from lnlbench.noise.corruption import NoisyLabels, check, corrupt, real_labels
from lnlbench.noise.instance_inputs import raw_inputs
from lnlbench.noise.noise_file import NoiseFile, read_noise_file, save_noise_file, write_noise_file
from lnlbench.noise.realised import NoiseReport

__all__ = [
    "NoiseFile",
    "NoiseReport",
    "NoisyLabels",
    "check",
    "corrupt",
    "raw_inputs",
    "read_noise_file",
    "real_labels",
    "save_noise_file",
    "write_noise_file",
]
