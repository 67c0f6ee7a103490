"""`hand3d serve`: the exported signatures behind the REST paths of TensorFlow Serving."""
