"""CTC recognisers over features of an encoder, with an attention decoder beside where one is wanted."""
