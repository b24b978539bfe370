"""The service: creates the parts of TrayProxy, starts them and stops them in order.

The service owns all state that must survive a closed window, and never imports PySide6.

    main               the composition root and the entry point
    router             the active profile, and the route of each request
    status_publisher   the status for the front ends
    upstream_status    the state of the active profile's upstream, a part of the status
    front_ends         the connected front ends, and the events for them
    request_handler    the requests of front ends
    profile_changes    changes of the profiles and of the active profile
    local_port         the port on which TrayProxy listens
    listen_problems    the problems of a port on which TrayProxy cannot listen
    own_requests       TrayProxy's own requests: profile tests, trials of logins
    other_loopback     the program that uses the other address of localhost
    access_policy      the users whose programs may connect, from the settings
    further_listeners  the listeners for fixed forwards, containers and other devices
    listener_plan      the addresses of these listeners
    device_password    the password of other devices in the keyring
    refused_clients    reports of refused connections
    refused_devices    the same for other devices
    process_names      the programs at the other end of connections
    keyring_inventory  the saved logins
    presence           the screen lock, and the front ends with prompts
"""
