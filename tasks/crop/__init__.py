"""Photos and boxes become square crops: who is cut out, where, and how blurred the photo is."""
