"""What only a CPU needs. Reached through `cpu.launcher` alone, and only where a CPU is used."""
