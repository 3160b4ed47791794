"""The core: what a counter is and what it does. No waiting, no clock, no imports but its own.

    name      what a counter can be called
    policy    bounds, what happens at them, when to reset; for all, for a pattern of names, for one counter
    counter   the state machine of one counter
    likes     the counter whose value is the number of its members
    schedule  cron with a time zone
    deadline  when a counter resets itself
    alarm     operations that are applied later
    agenda    what is due soon
"""
