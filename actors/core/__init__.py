"""The core: what a counter is and what it does. No waiting, no clock, no imports but its own.

    name     what a counter can be called
    policy   bounds, and what happens at them
    counter  the state machine of one counter
"""
