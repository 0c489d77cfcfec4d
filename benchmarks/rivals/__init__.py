"""The servers that are compared with Trainyard's, each a file that its server loads."""
