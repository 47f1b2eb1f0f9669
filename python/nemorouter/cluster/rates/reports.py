"""Keep what the bank knows of a holder: its reports, and the one that has no reply yet."""

from nemorouter.cluster.rates.messages import RateReply, RateRequest


class Reports:
    """The numbered reports of one nonce, and what the bank knows from them.

    The bank knows ``place``, ``spent`` and ``refunded``. At most one report is ``pending``, sent at
    ``sent_at``. ``contact`` is when the newest reply came.
    """

    def __init__(self, nonce: int, epoch: int, now: int, *, owes: bool) -> None:
        self.nonce = nonce
        self.epoch = epoch
        self.owes = owes  # a debt that no report has stated
        self.place = 0
        self.spent = 0
        self.refunded = 0
        self.bye = False  # the newest report said that nothing is left
        self.contact = now
        self.pending: RateRequest | None = None
        self.sent_at = now
        self._sequence = 0

    def next_sequence(self) -> int:
        """Draw the number of the next report."""
        self._sequence += 1
        return self._sequence

    def send(self, report: RateRequest, now: int) -> RateRequest:
        """Note that ``report`` leaves, and return it."""
        self.pending = report
        self.sent_at = now
        return report

    def lost(self) -> None:
        """Drop the pending report, which got no reply."""
        self.pending = None
        self.bye = False

    def answered(self, reply: RateReply, now: int) -> RateRequest | None:
        """Take in a reply; return the report that it answers, or None for an older one."""
        report = self.pending
        if report is None or reply.sequence != report.sequence:
            return None
        self.pending = None
        self.contact = now
        self.epoch = reply.epoch
        self.owes = False
        self.place = reply.place
        self.refunded = report.refunded
        self.spent = report.place if reply.void else report.spent
        return report
