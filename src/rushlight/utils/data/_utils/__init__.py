"""How the DataLoader works inside: collating, fetching, worker processes and the channels to them."""
