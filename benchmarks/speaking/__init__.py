"""What a face does when it says a sound: training and measuring of what hears it."""
