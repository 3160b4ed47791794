"""workerd as a peer: `peer` starts it, `counter.js` is the object, `config.capnp` wires it up."""
