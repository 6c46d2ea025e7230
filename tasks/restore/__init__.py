"""Files and folders of pictures → restored pictures, each with its row."""
