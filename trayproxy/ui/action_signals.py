"""The actions that the user can choose, as Qt signals."""

from PySide6.QtCore import QObject, Signal


class ActionSignals(QObject):
    """The actions that the menu, the window and a notification offer.

    Signals:
        show_window: Show the window.
        copy_address: Copy the local address.
        sign_in: Open the sign-in dialog of the active profile.
        sign_in_to_profile(str): Open the sign-in dialog of the profile with this id.
        decline(Snooze): Close the prompt and show none for this time.
        use_profile(str): Activate the profile with this id.
        toggle_direct: Connect directly, or return to the previous profile.
        connect_directly_for_now: Connect directly for a limited time.
        undo_network_switch: Return to the choice before the switch because of the network.
        use_port(int): Listen on this port, because the configured port is taken; 0: return to the
            configured port.
        use_system_proxy(UseSystemProxy): Set or restore the system proxy.
        copy_settings(str): Copy the settings for the program with this recipe.
        show_recipes: Show the window of the recipes.
        show_devices: Show the dialog with the other devices that may connect.
        open_page(str): Open the page with this URL in the browser. The URL is untrusted.
        save_profile(Profile): Add or change this profile; activate the profile if none is active.
        delete_profile(DeleteProfile): Delete a profile.
        check_profile(CheckProfile): Test a profile.
        forget_login(str): Remove the saved password of the profile with this id.
        retry: Start the service now.
        quit: Quit TrayProxy.
    """

    show_window = Signal()
    copy_address = Signal()
    sign_in = Signal()
    sign_in_to_profile = Signal(str)
    decline = Signal(object)
    use_profile = Signal(str)
    toggle_direct = Signal()
    connect_directly_for_now = Signal()
    undo_network_switch = Signal()
    use_port = Signal(int)
    use_system_proxy = Signal(object)
    copy_settings = Signal(str)
    show_recipes = Signal()
    show_devices = Signal()
    open_page = Signal(str)
    save_profile = Signal(object)
    delete_profile = Signal(object)
    check_profile = Signal(object)
    forget_login = Signal(str)
    retry = Signal()
    quit = Signal()
