"""What a network is made of: traced layers, dependency groups, surgery, and the data it is calibrated on."""
