"""The sub-commands of `hand3d`, one module each: `add_parser(commands)` and the function that runs it.

None of them imports NumPy or Keras before it runs, so that help and wrong arguments answer at once.
"""
