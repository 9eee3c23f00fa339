"""The top floor: the stages composed, from the shell (`resynthesize`, `continue`, `bundle`, `demo`) and from Python."""
