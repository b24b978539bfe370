"""The service: creates the parts of TrayProxy, starts them and stops them in order.

The service owns all state that must survive a closed window, and never imports PySide6.

    main               the composition root and the entry point
    router             the active profile, and the route of each request
    status_publisher   the status for the front ends
    request_handler    the requests of front ends
    own_requests       TrayProxy's own requests: profile tests, trials of logins
    other_loopback     the program that uses the other address of localhost
    access_policy      the users whose programs may connect, from the settings
    refused_clients    reports of refused connections
    process_names      the programs at the other end of connections
    keyring_inventory  the saved logins
    presence           the screen lock, and the front ends with prompts
"""
