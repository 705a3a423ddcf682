"""Bit-serial word-parallel associative processors: microprograms, bit-exact emulator, cost."""
