"""What the machine is and what state it is in while something is measured."""
