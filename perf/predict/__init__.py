"""What a GPU would need for a tick of the scheduler, predicted from counted work, without a GPU."""
