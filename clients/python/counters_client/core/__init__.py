"""What the client decides, without sockets, clock or chance: those come in as arguments.

retry       how long to wait, what an HTTP status or a close code means
breaker     when not to ask at all
outbox      operations without an answer: how many, in which order, until when
follow      how far the stream of a counter has come: what is new, what was heard before, what is missing
backlog     events that nobody has read yet, joined when they are too many
connection  one connection for all of it: the state, what to send, when to come back
metrics     what is counted
"""
