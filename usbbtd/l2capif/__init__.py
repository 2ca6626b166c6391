"""The vl2cap protocol of l2capif.h: both ends, without I/O."""
