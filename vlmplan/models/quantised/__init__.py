"""How is a checkpoint quantised? Methods, their schemes, and the modules that they mean or leave out."""
