"""A disposable fleet of real Postfix hosts on this machine, in namespaces of its own."""
