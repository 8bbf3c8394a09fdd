"""What is to be measured on the day that there is a GPU."""
