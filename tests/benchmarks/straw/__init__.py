"""Three designs of a prepaid balance and one race for all of them: the usual two, and ours.

A straw design is what one writes first. It is here to be measured against: what it overspends, and what it costs.
"""
