"""Why a network fails to learn: what is seen inside it after epochs, and what is concluded from that."""
