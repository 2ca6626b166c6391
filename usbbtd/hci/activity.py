"""What a controller does beside its links, until it is told to stop: it scans and advertises on LE, inquires on BR/EDR.

On LE a controller gets the legacy commands, or the extended ones if it knows no others; never both.
"""

from abc import ABC, abstractmethod
from functools import partial
from typing import Generic, TypeVar

from usbbtd.bluetooth import ErrorCode
from usbbtd.hci.command_queue import Done, Send
from usbbtd.hci.init import ControllerFacts
from usbbtd.hci.wire.commands import HciCommand

__all__ = ["Activity"]

P = TypeVar("P")


class Activity(ABC, Generic[P]):
    """One activity: keeps the parameters with which it is wanted, and sends the commands for it.

    What is wanted outlives a reset of the controller. All commands that begin an activity are sent at once; if one
    fails, the effect of the others is undone.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._controller: ControllerFacts | None = None  # None if it is not up or lacks the transport
        self._wanted: P | None = None
        self._is_on = False  # whether the controller was told to begin
        self._beginnings = 0  # how often it was, so that an answer finds its own
        self._unanswered = 0  # how many of our commands the controller has not answered yet
        self._initiating = False  # whether a connection is being created
        self._goes_on_beside = True  # whether the controller can do this while it initiates

    # What differs

    @abstractmethod
    def _commands_to_begin(self, controller: ControllerFacts, wanted: P) -> list[HciCommand]: ...

    @abstractmethod
    def _commands_to_end(self, controller: ControllerFacts) -> list[HciCommand]: ...

    @abstractmethod
    def _given_up(self, status: int) -> None:
        """Tells that the activity has ended by itself."""

    def _is_supported(self, controller: ControllerFacts) -> bool:
        """Tells whether the controller has the transport of this activity."""
        return controller.supports_le

    def _may_go_on_beside(self, controller: ControllerFacts) -> bool:
        """Tells whether the controller says that it can do this while it initiates."""
        return True

    def _ended(self) -> None:
        """Forgets what belongs to an activity that has ended."""

    def _settled(self) -> None:
        """Is called when the controller has answered all commands."""

    def _refused(self, status: int) -> None:
        """Gives the activity up, as the controller refuses it."""
        self._give_up(status)

    # The user's wishes

    def stop(self) -> None:
        self._wanted = None
        self._apply()

    def _want(self, parameters: P) -> None:
        self._wanted = parameters
        self._apply()

    def pause(self) -> None:
        """Has the controller end it until resume(): for commands that are not allowed meanwhile."""
        if self._controller is not None:
            self._end(self._controller)

    def resume(self) -> None:
        self._apply()

    # The controller's side

    def controller_up(self, controller: ControllerFacts) -> None:
        """Begins what is wanted on a controller that was just reset."""
        if not self._is_supported(controller):
            self.abandon(ErrorCode.UNSUPPORTED_FEATURE)
            return
        self.controller_down()
        self._controller = controller
        self._goes_on_beside = self._may_go_on_beside(controller)
        self._apply()

    def controller_down(self) -> None:
        self._controller = None
        self._is_on = self._initiating = False
        self._unanswered = 0
        self._ended()

    def abandon(self, status: int) -> None:
        """Ends the activity with an event, if it is wanted: the controller is of no use."""
        self.controller_down()
        if self._wanted is not None:
            self._give_up(status)

    def set_initiating(self, initiating: bool) -> None:
        """Sets whether a connection is being created. The activity pauses meanwhile if it cannot go on."""
        if initiating != self._initiating:
            self._initiating = initiating
            if not self._goes_on_beside:
                self._apply()

    def make_way(self) -> None:
        """Pauses the activity, now and whenever a connection is created from now on.

        This controller cannot connect beside it, whatever it says of its states. Linux does not even try both.
        """
        if self._is_on:
            self._goes_on_beside = False
            self._apply()

    # Inside

    def _apply(self) -> None:
        """Ends what the controller does, and begins what is wanted."""
        controller, wanted = self._controller, self._wanted
        if controller is None:
            return
        self._end(controller)
        if wanted is None or (self._initiating and not self._goes_on_beside):
            return
        self._is_on = True
        self._beginnings += 1
        beginning = self._beginnings
        answered = partial(self._answered, beginning)
        for command in self._commands_to_begin(controller, wanted):
            if self._is_on and beginning == self._beginnings:  # else an earlier one has failed at once
                self._order(command, answered)

    def _end(self, controller: ControllerFacts) -> None:
        if self._is_on:
            self._is_on = False
            self._ended()
            for command in self._commands_to_end(controller):
                self._order(command, self._end_answered)

    def _order(self, command: HciCommand, done: Done) -> None:
        self._unanswered += 1
        self._send(command, done)

    def _answered(self, beginning: int, status: int, _returned: bytes, _now: float) -> None:
        self._unanswered -= 1
        if status and beginning == self._beginnings and self._is_on and self._controller is not None:
            self._end(self._controller)
            if status == ErrorCode.COMMAND_DISALLOWED and self._initiating:
                self._goes_on_beside = False  # it goes on after the connection
            else:
                self._refused(status)
        if not self._unanswered:
            self._settled()

    def _end_answered(self, _status: int, _returned: bytes, _now: float) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._settled()

    def _give_up(self, status: int) -> None:
        self._wanted = None
        self._given_up(status)
