"""Looking at what was compiled: coloured source, the demonstration, the command line."""
