"""One definition per operation: a program, executed by the emulator and counted by the cost."""
