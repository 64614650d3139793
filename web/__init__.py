"""The runtime for browsers, in JavaScript, and the files that it is given."""
