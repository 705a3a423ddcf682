"""Charts of results: values that a picture file and a page draw alike."""
