"""From a send to the sockets: commit, order, fan out, presence."""
