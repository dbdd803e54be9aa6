"""Users, projects, tokens and the audit trail: the floor that every stage stands on."""
