"""Reading one kernel: its syntax tree becomes the intermediate form, statement by statement."""
