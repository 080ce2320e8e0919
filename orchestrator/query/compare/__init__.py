"""Results held beside each other: who they are, which arms answer to which, what differs.

``sides`` says what can be compared and ``stored``, ``foreign`` read it; ``joining`` finds the arms
that belong together, ``mixing`` what else differs and what must not be pooled, ``effects`` the
difference and its interval; ``comparison`` does it all, ``rendering`` and ``figure`` show it.
"""
