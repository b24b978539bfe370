"""The differences between operating systems.

No other package asks which operating system it runs on. A service of the operating system with
several implementations is a folder: ``base`` has the protocol, the shared code and, where needed,
the null implementation; a module for each system implements the protocol; ``factory`` chooses the
implementation::

    autostart              starts TrayProxy when the user logs in
    network_change         reports that the computer has moved to another network
    network_identity       reads to which network the computer is connected
    private_folder         denies other users access to a folder
    process_lookup         finds the program at the other end of a connection, to name it
    screen_lock            reports whether the screen is locked
    socket_owner           finds the user at the other end of a connection, for access control
    system_pac             reads the user's own PAC script or proxy, as it was before TrayProxy
    system_proxy           reads, sets and restores the system proxy of each desktop
    system_proxy_change    reports that the system proxy may have changed

Each other service is a module::

    atomic_file            reads and replaces small files of the user
    commands               runs commands of the system with a time limit
    config_home            finds the folder of the user's settings on Linux
    display                checks whether Qt can open a display
    dock_macos             removes the icon of this process from the Dock
    hardening              protects the memory of this process, and raises its descriptor limit
    installation           finds the command that starts this installation
    kerberos               stops libkrb5 from replacing the names of proxies
    optional_dependencies  checks whether the modules for NTLM and Kerberos are installed
    ports                  finds free ports
    process                starts the service in the background
    program                finds a program of the user, and runs it in place of this process
    qt_libraries           lists the system libraries needed by PySide6
    rtnetlink              reads links, addresses and routes from the kernel of Linux
    shell                  guesses the shell of the user
    suspend_clock          measures how long the computer was suspended
    system_name            names the operating system, for data that differs between systems
    terminal               reads lines from the controlling terminal
    tool_file              reads and replaces the files of other programs, or leaves them alone
    users                  finds users by id and name
    window                 calls window functions that Qt lacks
    windows_token          reads the user of a process on Windows
"""
