"""What is the machine's and not the data's: whose fault an error is, trying again, ending what hangs, and versions."""
