"""Who may call what. A route of the resolver that is not in here fails `test_routes.py`.

Each line is a method, a path with the places of its URL pattern, and what it takes:
    public      anybody
    read ...    a token with that scope; reading is also open to the project's members by their session
    signed      what MLflow signed: everybody else is unknown, whatever token they have
    device      the code or the token of a device: everybody else is unknown, whatever token they have
    host        the token of a serving host: everybody else is unknown, whatever token they have
    scrape      anybody on this machine, else a token with scope read
    both        a token with two scopes, which none of one scope is
"""

from typing import NamedTuple

from driftline.base.accounts.access.scopes import Scope

API = """
GET     api/v1/                                                     nothing
GET     api/v1/openapi.json                                         public
GET     api/v1/docs                                                 public

GET     api/v1/models                                               read
POST    api/v1/models                                               write
GET     api/v1/models/<name>                                        read
PATCH   api/v1/models/<name>                                        write
DELETE  api/v1/models/<name>                                        admin
DELETE  api/v1/models/<name>/versions/<version>                     admin
DELETE  api/v1/models/<name>/references/<int:reference_id>          admin
PATCH   api/v1/models/<name>/references/<int:reference_id>          write
GET     api/v1/models/<name>/references                             read
GET     api/v1/models/<name>/datasets                               read
PATCH   api/v1/models/<name>/datasets/<int:dataset_id>              write
DELETE  api/v1/models/<name>/datasets/<int:dataset_id>              admin
DELETE  api/v1/models/<name>/imports/<int:import_id>                admin
POST    api/v1/models/<name>/retry                                  write
POST    api/v1/models/<name>/retention/preview                      read
GET     api/v1/models/<name>/versions                               read
POST    api/v1/models/<name>/versions                               deploy
GET     api/v1/models/<name>/versions/<version>                     read
GET     api/v1/models/<name>/versions/<version>/artifact            deploy
GET     api/v1/models/<name>/aliases                                read
PUT     api/v1/models/<name>/aliases/<alias>                        deploy
DELETE  api/v1/models/<name>/aliases/<alias>                        deploy
GET     api/v1/models/<name>/versions/<version>/variants            read
POST    api/v1/models/<name>/versions/<version>/variants            write
POST    api/v1/models/<name>/versions/<version>/variants/<kind>/register deploy
PATCH   api/v1/models/<name>/versions/<version>                     deploy
GET     api/v1/models/<name>/deployment                             read
PATCH   api/v1/models/<name>/deployment                             deploy
POST    api/v1/models/<name>/promote                                deploy
POST    api/v1/models/<name>/rollback                               deploy
GET     api/v1/models/<name>/reference                              read
GET     api/v1/models/<name>/schema                                 read
PATCH   api/v1/models/<name>/schema                                 write
PUT     api/v1/models/<name>/reference                              write
POST    api/v1/models/<name>/reference                              write
POST    api/v1/models/<name>/predictions                            log
GET     api/v1/models/<name>/predictions                            read
GET     api/v1/models/<name>/predictions/<path:prediction_id>       read
POST    api/v1/models/<name>/labels                                 label
POST    api/v1/models/<name>/events                                 log
POST    api/v1/events                                               log
GET     api/v1/events                                               read
GET     api/v1/lake                                                 read
PUT     api/v1/lake                                                 admin
DELETE  api/v1/lake                                                 admin
GET     api/v1/lake/files                                           read
GET     api/v1/sink                                                 read
PUT     api/v1/sink                                                 admin
POST    api/v1/sink/test                                            admin
DELETE  api/v1/sink                                                 admin
GET     api/v1/sources                                              read
POST    api/v1/sources                                              write
POST    api/v1/sources/preview                                      write
GET     api/v1/sources/<name>                                       read
PATCH   api/v1/sources/<name>                                       write
DELETE  api/v1/sources/<name>                                       write
POST    api/v1/sources/<name>/pause                                 write
POST    api/v1/sources/<name>/resume                                write
GET     api/v1/sources/<name>/positions                             read
GET     api/v1/sources/<name>/dead-letters                          read
DELETE  api/v1/sources/<name>/dead-letters                          write
POST    api/v1/sources/<name>/dead-letters/retry                    write
DELETE  api/v1/sources/<name>/dead-letters/<int:letter_id>          write
POST    api/v1/sources/<name>/dead-letters/<int:letter_id>/retry    write
POST    api/v1/models/<name>/imports/predictions                    log
POST    api/v1/models/<name>/imports/labels                         label
GET     api/v1/models/<name>/imports                                read
GET     api/v1/models/<name>/imports/<int:import_id>                read
GET     api/v1/models/<name>/imports/<int:import_id>/bad-rows       read
POST    api/v1/models/<name>/imports/<int:import_id>/cancel         write
GET     api/v1/models/<name>/files                                  log
POST    api/v1/models/<name>/files                                  log
GET     api/v1/models/<name>/files/<int:file_id>                    log
POST    api/v1/models/<name>/files/<int:file_id>/preview            log
POST    api/v1/models/<name>/files/<int:file_id>/confirm            log
DELETE  api/v1/models/<name>/files/<int:file_id>                    log
GET     api/v1/models/<name>/export                                 read
GET     api/v1/metrics                                              read
GET     api/v1/models/<name>/metrics                                read
GET     api/v1/models/<name>/monitors                               read
PATCH   api/v1/models/<name>/monitors/<monitor>                     write
GET     api/v1/models/<name>/drift                                  read
GET     api/v1/models/<name>/change-points                          read
GET     api/v1/models/<name>/losses                                 read
GET     api/v1/models/<name>/changed-examples                       read
GET     api/v1/models/<name>/annotations                            read
POST    api/v1/models/<name>/annotations                            write
PATCH   api/v1/models/<name>/annotations/<int:annotation_id>        write
DELETE  api/v1/models/<name>/annotations/<int:annotation_id>        write
GET     api/v1/models/<name>/custom-metrics                         read
POST    api/v1/models/<name>/custom-metrics                         write
POST    api/v1/models/<name>/custom-metrics/evaluate                read
POST    api/v1/models/<name>/summaries/layout                       log
PUT     api/v1/models/<name>/summaries                              log
PATCH   api/v1/models/<name>/custom-metrics/<int:custom_metric_id>  write
DELETE  api/v1/models/<name>/custom-metrics/<int:custom_metric_id>  write
GET     api/v1/models/<name>/segments                               read
POST    api/v1/models/<name>/segments                               write
PATCH   api/v1/models/<name>/segments/<int:segment_id>              write
DELETE  api/v1/models/<name>/segments/<int:segment_id>              write
GET     api/v1/models/<name>/segment-searches                       read
POST    api/v1/models/<name>/segment-searches                       write
GET     api/v1/models/<name>/segment-searches/<int:search_id>       read
GET     api/v1/models/<name>/comparison                             read
GET     api/v1/models/<name>/agreement                              read
GET     api/v1/models/<name>/runs                                   read
POST    api/v1/models/<name>/runs                                   deploy
GET     api/v1/models/<name>/runs/<int:run_id>                      read
POST    api/v1/models/<name>/runs/<int:run_id>/approve              deploy
POST    api/v1/models/<name>/runs/<int:run_id>/reject               deploy
POST    api/v1/models/<name>/runs/<int:run_id>/cancel               deploy
POST    api/v1/models/<name>/runs/<int:run_id>/pause                deploy
POST    api/v1/models/<name>/runs/<int:run_id>/resume                deploy
POST    api/v1/models/<name>/runs/<int:run_id>/roll-back            deploy
GET     api/v1/runs/<int:run_id>/order                              both
GET     api/v1/runs/<int:run_id>/snapshot                           both
POST    api/v1/runs/<int:run_id>/progress                           deploy
POST    api/v1/runs/<int:run_id>/failed                             deploy
POST    api/v1/runs/<int:run_id>/artifact                           deploy
GET     api/v1/models/<name>/reports                                read
POST    api/v1/models/<name>/reports                                write
DELETE  api/v1/models/<name>/reports/<int:report_id>                write
POST    api/v1/models/<name>/reports/<int:report_id>/retry          write
GET     api/v1/models/<name>/reports/<int:report_id>                read
GET     api/v1/models/<name>/reports/<int:report_id>/file           read

DELETE  api/v1/subjects/<path:key>                                  admin
GET     api/v1/audit                                                admin
GET     api/v1/audit/chain                                          admin
GET     api/v1/audit/export                                         admin
GET     api/v1/members                                              read
PATCH   api/v1/members/<int:member_id>                              admin
DELETE  api/v1/members/<int:member_id>                              admin
GET     api/v1/projects                                             read
POST    api/v1/projects                                             admin
GET     api/v1/projects/<slug>                                      read
PATCH   api/v1/projects/<slug>                                      admin
GET     api/v1/roles                                                read
POST    api/v1/roles                                                admin
PATCH   api/v1/roles/<int:role_id>                                  admin
DELETE  api/v1/roles/<int:role_id>                                  admin
GET     api/v1/teams                                                read
POST    api/v1/teams                                                admin
PATCH   api/v1/teams/<int:team_id>                                  admin
DELETE  api/v1/teams/<int:team_id>                                  admin
GET     api/v1/tokens                                               read
PATCH   api/v1/tokens/<int:token_id>                                admin
POST    api/v1/tokens/<int:token_id>/rotate                         admin
GET     api/v1/invitations                                          admin
POST    api/v1/invitations                                          admin
POST    api/v1/invitations/<int:invitation_id>/resend               both
DELETE  api/v1/invitations/<int:invitation_id>                      admin
GET     api/v1/config                                               read
GET     api/v1/config/differences                                   read
POST    api/v1/config/plan                                          read
POST    api/v1/config/apply                                         write
GET     api/v1/erasures                                             read
GET     api/v1/erasures/<int:erasure_id>                            read

GET     api/v1/rules                                                read
POST    api/v1/rules                                                write
POST    api/v1/rules/backtest                                       read
POST    api/v1/rules/defaults                                       write
GET     api/v1/rules/<int:rule_id>                                  read
GET     api/v1/rules/<int:rule_id>/precision                        read
PATCH   api/v1/rules/<int:rule_id>                                  write
DELETE  api/v1/rules/<int:rule_id>                                  write
GET     api/v1/grafana/annotations                                  read
GET     api/v1/incidents                                            read
GET     api/v1/incidents/<int:incident_id>                          read
POST    api/v1/incidents/<int:incident_id>/acknowledge              write
POST    api/v1/incidents/<int:incident_id>/assign                   write
POST    api/v1/incidents/<int:incident_id>/comments                 write
POST    api/v1/incidents/<int:incident_id>/snooze                   write
POST    api/v1/incidents/<int:incident_id>/judge                    write
POST    api/v1/incidents/<int:incident_id>/resolve                  write
GET     api/v1/channels                                             read
POST    api/v1/channels                                             write
GET     api/v1/channels/<int:channel_id>                            read
POST    api/v1/channels/preview                                     read
PATCH   api/v1/channels/<int:channel_id>                            write
DELETE  api/v1/channels/<int:channel_id>                            write
POST    api/v1/channels/<int:channel_id>/rotate-secret              write
POST    api/v1/channels/<int:channel_id>/test                       write
GET     api/v1/deliveries                                           read
GET     api/v1/deliveries/<int:delivery_id>                         read
POST    api/v1/deliveries/<int:delivery_id>/replay                  write
GET     api/v1/routing                                              read
PUT     api/v1/routing                                              admin
DELETE  api/v1/routing                                              admin
POST    api/v1/routing/test                                         read
GET     api/v1/silences                                             read
POST    api/v1/silences                                             write
DELETE  api/v1/silences/<int:silence_id>                            write

GET     api/v1/models/<name>/mlflow                                 read
PUT     api/v1/models/<name>/mlflow                                 deploy
DELETE  api/v1/models/<name>/mlflow                                 deploy
POST    api/v1/models/<name>/mlflow/rotate-secret                   deploy
POST    api/v1/models/<name>/mlflow/retry                           deploy
GET     api/v1/models/<name>/mlflow/versions                        read
POST    api/v1/integrations/mlflow/<token>                          signed

GET     api/v1/mlflow-imports                                       read
POST    api/v1/mlflow-imports                                       deploy
GET     api/v1/mlflow-imports/<int:registry_import_id>              read
DELETE  api/v1/mlflow-imports/<int:registry_import_id>              deploy
GET     api/v1/mlflow-imports/<int:registry_import_id>/models       read
POST    api/v1/mlflow-imports/<int:registry_import_id>/start        deploy
POST    api/v1/mlflow-imports/<int:registry_import_id>/retry        deploy

GET     api/v1/models/<name>/pulls                                  read
POST    api/v1/models/<name>/pulls                                  deploy
GET     api/v1/models/<name>/pulls/<int:pull_id>                    read
POST    api/v1/models/<name>/pulls/<int:pull_id>/retry              deploy
POST    api/v1/models/<name>/pulls/<int:pull_id>/cancel             deploy
GET     api/v1/device-groups                                        read
POST    api/v1/device-groups                                        deploy
PATCH   api/v1/device-groups/<int:group_id>                         deploy
DELETE  api/v1/device-groups/<int:group_id>                         deploy
GET     api/v1/device-groups/<int:group_id>/releases                read
POST    api/v1/device-groups/<int:group_id>/releases                deploy
POST    api/v1/device-groups/<int:group_id>/abort                   deploy
GET     api/v1/devices                                              read
POST    api/v1/devices                                              deploy
GET     api/v1/devices/<int:device_id>                              read
POST    api/v1/devices/<int:device_id>/code                         deploy
POST    api/v1/devices/<int:device_id>/revoke                       deploy
POST    api/v1/devices/enrol                                        device
GET     api/v1/devices/self/assignment                              device
GET     api/v1/devices/self/key-successions                         device
GET     api/v1/devices/self/artifacts/<sha256>                      device
POST    api/v1/devices/self/status                                  device
POST    api/v1/devices/self/rows                                    device
POST    api/v1/devices/self/summaries/layout                        device
PUT     api/v1/devices/self/summaries                               device
GET     api/v1/serving-hosts/self/plan                              host
GET     api/v1/serving-hosts/self/key-successions                   host
GET     api/v1/serving-hosts/self/artifacts/<sha256>                host
POST    api/v1/serving-hosts/self/status                            host

GET     healthz                                                     public
GET     readyz                                                      public
GET     metrics                                                     scrape
GET     metrics/models                                              scrape
GET     docs/                                                       public
GET     docs/<path:path>                                            public
"""

# Pages, for people who are signed in: the least role that a method needs. `/` stands for the start page.
PAGES = """
GET     /                                       viewer
GET     demo                                    viewer
GET     demo/progress                           viewer
GET     models/                                 viewer
POST    models/                                 editor
GET     mlflow-imports/                         viewer
POST    mlflow-imports/                         admin
GET     mlflow-imports/<int:pk>                 viewer
POST    mlflow-imports/<int:pk>                 admin
GET     models/new                              viewer
POST    models/new                              editor
GET     models/<name>/                          viewer
POST    models/<name>/                          editor
GET     models/<name>/annotations               viewer
POST    models/<name>/annotations               editor
GET     models/<name>/annotations/<int:pk>      viewer
POST    models/<name>/annotations/<int:pk>      editor
GET     models/<name>/annotations/<int:pk>/delete viewer
GET     models/<name>/data.csv                  viewer
GET     models/<name>/drift                     viewer
GET     models/<name>/features/<path:feature>   viewer
GET     models/<name>/expected/<path:feature>   viewer
POST    models/<name>/expected/<path:feature>   editor
GET     models/<name>/performance               viewer
GET     models/<name>/custom-metrics            viewer
POST    models/<name>/custom-metrics            editor
GET     models/<name>/custom-metrics/<int:pk>   viewer
POST    models/<name>/custom-metrics/<int:pk>   editor
GET     models/<name>/custom-metrics/<int:pk>/delete viewer
GET     models/<name>/segments                  viewer
POST    models/<name>/segments                  editor
GET     models/<name>/segments/<int:pk>/remove  viewer
GET     models/<name>/segments/of/<path:feature> viewer
GET     models/<name>/segment-searches          viewer
POST    models/<name>/segment-searches          editor
GET     models/<name>/latency                   viewer
GET     models/<name>/shadow                    viewer
GET     models/<name>/predictions               viewer
GET     models/<name>/predictions/<path:prediction_id> viewer
GET     models/<name>/reference                 viewer
POST    models/<name>/reference                 editor
GET     models/<name>/import                    viewer
POST    models/<name>/import                    editor
GET     models/<name>/delete                    viewer
POST    models/<name>/delete                    admin
POST    models/<name>/archive                   editor
POST    models/<name>/versions/<version>/archive admin
POST    models/<name>/references/<int:pk>/archive editor
POST    models/<name>/datasets/<int:pk>/archive editor
GET     models/<name>/references/<int:pk>/delete viewer
POST    models/<name>/references/<int:pk>/delete admin
GET     models/<name>/datasets/<int:pk>/delete  viewer
POST    models/<name>/datasets/<int:pk>/delete  admin
GET     models/<name>/imports/<int:pk>/remove   viewer
POST    models/<name>/imports/<int:pk>/remove   admin
GET     models/<name>/versions/<version>/delete viewer
POST    models/<name>/versions/<version>/delete admin
GET     models/<name>/files/<int:pk>            viewer
POST    models/<name>/files/<int:pk>            editor
GET     models/<name>/versions                  viewer
POST    models/<name>/versions                  admin
GET     models/<name>/versions/<version>        viewer
GET     models/<name>/versions/<version>/artifact admin
GET     models/<name>/versions/<version>/quarantine viewer
POST    models/<name>/versions/<version>/quarantine admin
GET     models/<name>/versions/<version>/variants viewer
POST    models/<name>/versions/<version>/variants editor
GET     models/<name>/endpoint                  viewer
POST    models/<name>/endpoint                  admin
GET     models/<name>/alias                     viewer
POST    models/<name>/alias                     admin
GET     models/<name>/deployment                viewer
POST    models/<name>/deployment                admin
GET     models/<name>/settings                  viewer
POST    models/<name>/settings                  editor
GET     models/<name>/workflow                  viewer
POST    models/<name>/workflow                  admin
GET     models/<name>/pipeline                  viewer
POST    models/<name>/pipeline                  admin
GET     models/<name>/mlflow                    viewer
POST    models/<name>/mlflow                    admin
GET     models/<name>/pulls                     viewer
POST    models/<name>/pulls                     admin
GET     models/<name>/runs                      viewer
POST    models/<name>/runs                      admin
GET     models/<name>/runs/<int:pk>             viewer
POST    models/<name>/runs/<int:pk>             admin
GET     models/<name>/reports                   viewer
POST    models/<name>/reports                   editor
GET     models/<name>/reports/<int:pk>          viewer
POST    models/<name>/reports/<int:pk>          editor
GET     models/<name>/reports/<int:pk>/view     viewer
GET     models/<name>/reports/<int:pk>/delete   viewer
GET     models/<name>/rules                     viewer
GET     models/<name>/rules/new                 viewer
POST    models/<name>/rules/new                 editor
POST    models/<name>/rules/defaults            editor
POST    models/<name>/monitors/<monitor>        editor
GET     models/<name>/rules/<int:pk>            viewer
POST    models/<name>/rules/<int:pk>            editor
GET     models/<name>/rules/<int:pk>/delete     viewer
GET     incidents/                              viewer
GET     incidents/<int:pk>                      viewer
POST    incidents/<int:pk>                      editor
GET     devices/                                viewer
POST    devices/                                admin
GET     devices/groups/<int:pk>                 viewer
POST    devices/groups/<int:pk>                 admin
GET     devices/<int:pk>/code                   viewer
POST    devices/<int:pk>/code                   admin
GET     devices/<int:pk>/revoke                 viewer
POST    devices/<int:pk>/revoke                 admin
GET     settings/tokens                         viewer
POST    settings/tokens                         admin
GET     settings/tokens/<int:pk>                viewer
POST    settings/tokens/<int:pk>                admin
GET     settings/tokens/<int:pk>/revoke         viewer
POST    settings/tokens/<int:pk>/revoke         admin
GET     settings/audit                          admin
GET     settings/audit/export                   admin
GET     settings/roles                          viewer
POST    settings/roles                          admin
GET     settings/roles/<int:pk>                 viewer
POST    settings/roles/<int:pk>                 admin
GET     settings/roles/<int:pk>/remove          viewer
POST    settings/roles/<int:pk>/remove          admin
GET     settings/teams                          viewer
POST    settings/teams                          admin
GET     settings/teams/<int:pk>                 viewer
POST    settings/teams/<int:pk>                 admin
GET     settings/teams/<int:pk>/remove          viewer
POST    settings/teams/<int:pk>/remove          admin
GET     settings/project                        viewer
POST    settings/project                        admin
GET     settings/members                        viewer
POST    settings/members                        admin
GET     settings/members/<int:pk>               viewer
POST    settings/members/<int:pk>               admin
GET     settings/members/<int:pk>/remove        viewer
POST    settings/members/<int:pk>/remove        admin
GET     settings/lake                           viewer
POST    settings/lake                           admin
GET     settings/lake/stop                      viewer
GET     settings/sink                           viewer
POST    settings/sink                           admin
GET     settings/sink/stop                      viewer
GET     settings/sources                        viewer
GET     settings/sources/new                    viewer
POST    settings/sources/new                    editor
GET     settings/sources/<int:pk>               viewer
POST    settings/sources/<int:pk>               editor
GET     settings/sources/<int:pk>/delete        viewer
GET     settings/sources/<int:pk>/dead-letters  viewer
POST    settings/sources/<int:pk>/dead-letters  editor
GET     settings/sources/<int:pk>/dead-letters/discard  viewer
GET     settings/channels                       viewer
POST    settings/channels                       editor
GET     settings/channels/<int:pk>              viewer
POST    settings/channels/<int:pk>              editor
GET     settings/channels/<int:pk>/delete       viewer
GET     settings/routing                        viewer
POST    settings/routing                        admin
GET     settings/silences                       viewer
POST    settings/silences                       editor
GET     settings/configuration                  viewer
POST    settings/configuration                  editor
GET     settings/configuration/download         viewer
GET     settings/silences/<int:pk>/end          viewer
POST    settings/silences/<int:pk>/end          editor
GET     settings/privacy                        viewer
POST    settings/privacy                        admin
GET     settings/background                     viewer
POST    settings/background                     editor
GET     start/                                  viewer
"""

# Whole trees that other packages keep: Django's admin asks for staff, allauth for what each of its pages needs.
ADMIN, ACCOUNTS = "admin/", "accounts/"


class Route(NamedTuple):
    method: str
    path: str
    takes: str

    @property
    def needs_token(self) -> bool:
        """Tell whether it takes a token with some scope."""
        return self.takes in {*Scope, "both"}

    @property
    def is_operation(self) -> bool:
        """Tell whether the API describes it."""
        return self.needs_token or self.knows_no_token

    @property
    def knows_no_token(self) -> bool:
        """Tell whether it takes no token of a project, because its callers have keys of their own."""
        return self.takes in {"signed", "device", "host"}


ROUTES = [Route(*line.split()) for line in API.splitlines() if line]
# The links in messages: their signature decides (`tests/driftline/web/pages/test_acts.py`).
LINKS = "act/"
# What identity providers keep: their own tokens decide, and no other opens a route of it.
SCIM = "scim/"
