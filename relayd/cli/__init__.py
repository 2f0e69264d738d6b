"""The command line. Each verb has a module, which is imported only when it is called."""
