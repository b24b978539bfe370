"""The service: builds the parts, starts and stops them in order.

It owns everything that must survive a closed window, and never imports PySide6.

    main        the composition root and the way in
    roads       the active profile, and the way of each request
    facts       what is known, as the faces see it
    reception   what the requests of faces mean
    check       trying a profile step by step
    beside      who has the other address of localhost while we have not
    door        who may connect, as the settings say
    strangers   what is told of those who may not
    names       which program is at the other end of a connection
"""
