"""From a micrograph to the working image that training and picking share."""
