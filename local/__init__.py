"""The local stage: the emulator, the deployer that puts the Pulumi program on it, and the demo."""
