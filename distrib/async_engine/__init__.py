"""The async engine: workers on Ray that never wait for each other."""
