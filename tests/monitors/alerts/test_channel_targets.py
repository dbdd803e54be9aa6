"""What a refused URL leaves of a channel."""

import pytest

from driftline.accounts.models import Project
from driftline.common.errors import Problem
from monitors.alerts import services
from monitors.alerts.models import Channel


class TestSaving:
    def test_a_refused_url_leaves_no_channel(self, project: Project) -> None:
        with pytest.raises(Problem):
            services.create_channel(
                project=project,
                kind="webhook",
                name="x",
                target="http://127.0.0.1:9/",
                actor="ada@example.com",
            )

        assert not Channel.objects.exists()

    def test_a_change_to_a_refused_url_leaves_the_old_one(self, webhook: Channel) -> None:
        before = webhook.target

        with pytest.raises(Problem):
            services.update_channel(channel=webhook, actor="ada@example.com", target="https://10.0.0.1/")

        assert Channel.objects.get().target == before
