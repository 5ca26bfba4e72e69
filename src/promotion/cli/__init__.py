"""The commands: parse options, call one function, print. Nothing else in the project prints."""
