"""A stand-in for Pulumi's AWS provider, which Pulumi's real engine uses to deploy a stage onto the emulator."""
