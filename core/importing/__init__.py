"""Files of other tools as domain objects: traces, profiles. Knows formats, stores nothing."""
